"""What several strategies share: memories, penalties, distillation, statistics of features in closed form."""
