"""The commands of `fitnets`, a module with `main(words)` each. Only the one that is called is imported."""
