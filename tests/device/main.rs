//! Kernels and libraries of a CUDA device; visibly not run where there is none. One binary, to be carried there.

mod cuda_baselines;
mod cuda_operator;
mod cuda_published;
mod cuda_vectors;
mod kernels;
mod timed_call;
