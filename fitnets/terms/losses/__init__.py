"""One module for each loss. Its name is the kind of the term in a method, and `registry` finds it there."""
