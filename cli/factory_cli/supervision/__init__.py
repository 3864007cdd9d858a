"""Local processes: started in order, watched, restarted, drained in order."""
