"""The prompt optimizer: versioned templates, rendered prompts and what came of them."""
