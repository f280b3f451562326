"""Networks: layers, teachers, students, regressors, their costs, and the pairs of layers that hints connect.

`models.custom` adapts the modules of users. Imports: data (preprocessing), store, config, system.
"""
