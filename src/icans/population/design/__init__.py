"""What can be learned: identifiability, sensitivity, information of sampling schedules and optimal ones."""
