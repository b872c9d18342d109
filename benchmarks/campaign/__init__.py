"""A campaign of hostile tries: what is killed, damaged, exchanged, crowded or misused must stay right."""
