"""The sample videos: two small scenes of our own, ray cast with NumPy.

scenes.py    renders both scenes into folders of mp4 files: the way in
pier.py      a wooden pier over the sea at dusk
street.py    a street in the morning, with cars that move
light.py     what both need to shade: sky haze, shadows, exposure
textures.py  tileable noise
geometry.py  convex shapes, cameras, and which ray hits what first
video.py     frames → H.264

Axes: x to the right, y up, z away from the viewer; metres and seconds. Colours
are linear light, RGB; arrays of vectors have the components first: (3, …).
"""
