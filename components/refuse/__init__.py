"""Keep the champion and say why the winner was not good enough."""
