"""The embedded data: simulated moving people, with exact labels. NumPy only, no jax, no OpenGL.

body: proportions, joints, solids. motion, exercises: joint angles over time. render: camera and
z-buffer. scene: clothes, light, place. film: pictures with labels. clips: files in a cache.
"""
