"""The private line between a running mount and the commands that ask it something.

A unix socket in a folder that only its owner can enter; one JSON object each way per connection.
"""
