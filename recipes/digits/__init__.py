"""Connected digits, from a synthetic corpus that is built in or from the Free Spoken Digit Dataset."""
