"""The patient model: declared once as text, from which kernels, sensitivities, SBML and equations are made."""
