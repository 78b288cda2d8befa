"""The integration layer: experts by modality, or whole rungs, joined by learned weights; and what is uncertain."""
