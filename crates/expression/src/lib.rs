//! manifold-expression
