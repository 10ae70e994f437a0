"""Circuits as plain data: blocks and explicit gates, their variables, checks, simplification, and the networkx view."""
