"""Networks: layers, teachers, students, regressors, their costs, and the pairs of layers that hints connect.

`models.custom` adapts users' own modules. Imports: data (preprocessing), store, config, kernels, system.
"""
