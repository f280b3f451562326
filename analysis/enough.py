"""The exception for stores that do not hold enough."""


class NotEnough(ValueError):
    """The runs or trials that there are do not suffice for what is asked. Its text is a sentence for the user."""
