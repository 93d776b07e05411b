"""The recipe `mini_english`: open-vocabulary English from a few hours of real speech."""
