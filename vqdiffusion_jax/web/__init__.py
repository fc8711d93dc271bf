"""The parts that the page and the API share: the door before a server, its limits and its log."""
