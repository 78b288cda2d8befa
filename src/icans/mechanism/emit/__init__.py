"""What is made of the patient model besides kernels: equations to read, its diagram, JAX functions, C++."""
