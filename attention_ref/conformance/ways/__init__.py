"""Ways to ask what is not a function of this process: a program line by line, a folder of results."""
