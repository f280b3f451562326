"""How fast training is: steps against plain PyTorch, the machine and peers (`steps`), epochs and start-up (`runs`)."""
