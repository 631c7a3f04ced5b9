"""Tables and figures: one file each, read from what runs leave behind."""
