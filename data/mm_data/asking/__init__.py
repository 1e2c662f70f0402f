"""Questions to a language model behind an OpenAI-compatible endpoint: prompts, budgets, answers that are kept."""
