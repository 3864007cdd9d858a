"""From a file or a folder to a started job."""
