"""The main job: a study file in, a results folder out."""
