"""Real animated assets: the public list, their download, the choice of clips and the prepared set (`data=assets`)."""
