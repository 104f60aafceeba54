"""The kind `import`: recorded runs come in. The folder is called `imports` because `import` is a word of Python."""
