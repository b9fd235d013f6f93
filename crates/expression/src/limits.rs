//! What an expression may cost. Every limit is an error when met, in both modes, and never a silent cut.

/// Longest value of an expression, in bytes (`behaviour.md` 24.1).
pub const MAX_VALUE: usize = 256 * 1024;
/// Longest text that is rendered at once, in bytes, before and after: a manifest or a script, not a data set.
pub const MAX_TEXT: usize = 8 * 1024 * 1024;
/// Longest single expression between `${` and `}`, in bytes.
pub const MAX_EXPRESSION: usize = 16 * 1024;
/// How deep `${` may stand inside `${`.
pub const MAX_NESTING: usize = 16;
/// How deep the syntax tree of one expression may be. It bounds recursion, so it also protects the stack.
pub const MAX_DEPTH: usize = 96;
/// How often a value may lead to a value that holds expressions again, before it counts as a loop.
pub const MAX_EXPANSIONS: usize = 16;
/// Work of one call: one step for a node of the syntax tree, one for each 64 bytes that a method reads or writes.
pub const MAX_STEPS: usize = 1_000_000;
/// Most items of a list, and most entries of a map, that an expression makes.
pub const MAX_LIST: usize = 10_000;
/// Most errors reported for one text.
pub const MAX_ERRORS: usize = 50;
/// Longest regular expression, in bytes.
pub const MAX_PATTERN: usize = 4 * 1024;
/// Memory of one compiled regular expression, in bytes. It also bounds the time for one byte of text.
pub const MAX_PATTERN_MEMORY: usize = 512 * 1024;
/// Steps that a regular expression with counted repetition is charged.
pub const PATTERN_STEPS: usize = 4_000;
/// How deep an XML document may be.
pub const MAX_XML_DEPTH: usize = 64;
/// Most nodes of an XML document.
pub const MAX_XML_NODES: usize = 20_000;
/// How deep evaluation may go in all, through values that hold expressions again. It protects the stack.
pub const MAX_RECURSION: usize = 160;
