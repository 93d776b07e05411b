"""The recipe `an4`: an hour of names, addresses and numbers, many of them spelt letter by letter."""
