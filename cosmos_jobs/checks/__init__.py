"""Numbers of videos: how they keep to their input, how steady they are."""
