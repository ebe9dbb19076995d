"""Times networks in runtimes, each in a process of its own, and shows beside every time whether the results agree."""
