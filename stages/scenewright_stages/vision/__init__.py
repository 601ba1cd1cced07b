"""The vision algorithms, in five rooms. Each room imports only from the rooms below it (checked by import-linter).

From top to bottom: `subjects` (people and products), `places` (captures and worlds), `gaussians`, `geometry` and
`imaging`. The modules beside the rooms hold what every room shares: array types and GPU helpers. Nothing here knows a
pipeline, a store or a task: functions take arrays and return arrays.
"""
