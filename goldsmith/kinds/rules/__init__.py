"""What recorded sessions teach: rules that a teacher reads out of what children changed, kept, or asked for."""
