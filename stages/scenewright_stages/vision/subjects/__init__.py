"""What pictures show: people and products.

`people` finds faces and bodies, `matching` finds an object again, `cutting` and `relief` give it an outline and a
shape, and `scenery` renders it in other surroundings.
"""
