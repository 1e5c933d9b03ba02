"""What is checked and measured on a borrowed GPU: is it right, then how fast is it."""
