//! `${…}`: the expressions of workflows, scripts and manifests (`behaviour.md` 12), a part of Apache Commons JEXL 3.
//!
//! [`render`] replaces the spans of a text, [`condition`] says whether a condition holds, [`capture`] prepares one for the delegate,
//! [`references`] lists what a text refers to. All use one scanner, one parser and one evaluator. Nothing here does I/O, everything is
//! bounded by [`limits`], and no text makes it panic.

mod capture;
mod condition;
mod error;
mod evaluate;
mod flatten;
mod functor;
mod json;
pub mod limits;
mod method;
mod name;
mod operator;
mod parse;
mod pattern;
mod reference;
mod render;
mod scan;
mod scope;
mod syntax;
mod token;
mod value;
mod xml;

pub use capture::capture;
pub use condition::condition;
pub use error::ExpressionError;
pub use evaluate::evaluate;
pub use name::{check_name, check_publish_name, whole_variable};
pub use reference::{condition_references, references};
pub use render::{Mode, Rendering, render};
pub use scan::{Segment, scan};
pub use scope::{Lookup, Nothing, Scope, known_scope};
pub use value::Value;

pub use manifold_model::Hole;
