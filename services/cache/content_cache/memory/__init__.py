"""Memory as the process and its cgroup have it: how much may be taken, and what the collector looks at."""
