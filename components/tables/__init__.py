"""What is known about tables and only about tables: reading, inferring, typing, splitting, describing, checking."""
