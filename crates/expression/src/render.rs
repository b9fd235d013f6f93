//! Replacing the spans of a text.

use std::collections::BTreeMap;

use manifold_model::{Hole, Piece, Rendered};

use crate::error::{Class, ExpressionError};
use crate::evaluate::{Evaluator, Out, located};
use crate::limits::{MAX_ERRORS, MAX_TEXT};
use crate::scan::{self, Segment};
use crate::scope::Scope;
use crate::value::{MASK, Value};

/// What becomes of a span that has no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Scripts and manifests: it stays as text, since `${a:-b}` belongs to the shell (`behaviour.md` 12.1). Limits, loops, misused
    /// secrets and bad regular expressions are errors here too.
    Keep,
    /// Settings: an error with its span. `null` counts as no value.
    Strict,
}

/// A rendered text.
#[derive(Clone, PartialEq, Debug)]
pub struct Rendering {
    /// The text, with holes for what only the delegate can fill.
    pub rendered: Rendered,
    /// Each expression of the text, without `${` and `}`, and its value as shown to people; secrets as asterisks.
    pub values: BTreeMap<String, String>,
    /// Why spans stayed text that were meant as expressions (not the shell's `${name}` and `${a:-b}`), at most
    /// [`MAX_ERRORS`](crate::limits::MAX_ERRORS); for a warning in the log.
    pub kept: Vec<ExpressionError>,
}

/// Replaces every span of a text that the server can know. Secrets and what only the delegate can know become holes.
///
/// # Errors
/// All that is wrong, in the order of the text, with spans of `text`.
pub fn render(text: &str, scope: &dyn Scope, mode: Mode) -> Result<Rendering, Vec<ExpressionError>> {
    if text.len() > MAX_TEXT {
        let message = format!("the text is larger than {} MB", MAX_TEXT / 1024 / 1024);
        return Err(vec![ExpressionError::new(Class::Limit, 0..text.len(), message)]);
    }
    let mut evaluator = Evaluator::new(scope, mode);
    let mut renderer = Renderer::new(&mut evaluator);
    renderer.text(text);
    let Renderer { pieces, values, kept, errors, .. } = renderer;
    if errors.is_empty() { Ok(Rendering { rendered: Rendered(pieces), values, kept }) } else { Err(errors) }
}

pub(crate) struct Renderer<'e, 'a> {
    evaluator: &'e mut Evaluator<'a>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) kept: Vec<ExpressionError>,
    pub(crate) errors: Vec<ExpressionError>,
    /// Bytes made so far.
    size: usize,
}

impl<'e, 'a> Renderer<'e, 'a> {
    pub(crate) fn new(evaluator: &'e mut Evaluator<'a>) -> Self {
        Self {
            evaluator,
            pieces: Vec::new(),
            values: BTreeMap::new(),
            kept: Vec::new(),
            errors: Vec::new(),
            size: 0,
        }
    }

    /// Renders a text into pieces and errors.
    pub(crate) fn text(&mut self, text: &str) {
        let mut from = 0;
        while self.errors.len() < MAX_ERRORS {
            let Some(segment) = scan::next(text, from) else { break };
            let (start, end) = match &segment {
                Segment::Text(range) | Segment::Open(range) => (range.start, range.end),
                Segment::Span { outer, .. } => (outer.start, outer.end),
            };
            self.plain(text.get(from..start).unwrap_or_default());
            from = match segment {
                Segment::Span { inner, .. } => {
                    if self.span(text, inner.clone()) {
                        end
                    } else {
                        inner.start
                    }
                }
                Segment::Text(_) => end,
                Segment::Open(range) => {
                    self.open(text, range.start);
                    end
                }
            };
            if self.errors.last().is_some_and(|error| matches!(error.class, Class::Limit | Class::Loop)) {
                // The budget is spent; more errors would only repeat that.
                return;
            }
        }
        self.plain(text.get(from..).unwrap_or_default());
        if self.size > MAX_TEXT && self.errors.is_empty() {
            let message = format!("the text is larger than {} MB", MAX_TEXT / 1024 / 1024);
            self.errors.push(ExpressionError::new(Class::Limit, 0..text.len(), message));
        }
    }

    fn open(&mut self, text: &str, start: usize) {
        if self.evaluator.mode == Mode::Keep {
            self.plain("${");
            return;
        }
        let message = "`${` does not end, nests too deep or is too long";
        let error = ExpressionError::new(Class::Syntax, start..text.len(), message);
        self.errors.push(error.hint("close it with `}`; check the quotes inside"));
    }

    /// Renders one span. False when only its `${` was taken as text, because the rest may hold expressions of its own.
    fn span(&mut self, text: &str, inner: std::ops::Range<usize>) -> bool {
        let source = text.get(inner.clone()).unwrap_or_default();
        let error = match self.evaluate(source) {
            Ok(out) => {
                self.out(source, out, inner.start);
                return true;
            }
            Err(error) => error.moved(inner.start),
        };
        if self.evaluator.mode == Mode::Strict || !error.class.stays_text() {
            self.errors.push(error);
            return true;
        }
        if error.class == Class::Syntax {
            self.plain("${");
            return false;
        }
        let shell = source.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !shell && self.kept.len() < MAX_ERRORS {
            self.kept.push(error);
        }
        self.plain(text.get(inner.start.saturating_sub(2)..inner.end + 1).unwrap_or_default());
        true
    }

    fn evaluate(&mut self, source: &str) -> Result<Out, ExpressionError> {
        let (flat, expr) = self.evaluator.prepare(source)?;
        if self.evaluator.mode == Mode::Keep && expr.is_arithmetic_only() {
            // `${1}` is the shell's first argument.
            return Err(ExpressionError::new(Class::Syntax, 0..source.len(), "there is nothing to look up"));
        }
        let out = match self.evaluator.top(&expr) {
            Err(error) if error.class == Class::Late => {
                self.evaluator.hole(&flat, &expr).map(|hole| Out::Pieces(vec![Piece::Hole(hole)]))
            }
            other => other,
        };
        match out {
            Ok(Out::Value(Value::Null)) if self.evaluator.mode == Mode::Strict => {
                Err(ExpressionError::new(Class::Unresolved, 0..source.len(), format!("`{source}` is null")))
            }
            other => other.map_err(|error| located(error, &flat)),
        }
    }

    fn out(&mut self, source: &str, out: Out, start: usize) {
        let shown = match &out {
            Out::Value(value) => Some(value.display()),
            // A hole alone has no value yet.
            Out::Pieces(pieces) if matches!(pieces.as_slice(), [Piece::Hole(Hole::Expression { .. })]) => {
                None
            }
            Out::Pieces(pieces) => Some(Rendered(pieces.clone()).masked()),
        };
        match out {
            Out::Value(Value::Secret(name)) => {
                self.pieces.push(Piece::Hole(Hole::Secret { name: name.to_string() }));
            }
            Out::Value(_) => self.plain(shown.as_deref().unwrap_or(MASK)),
            Out::Pieces(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(part) => self.plain(&part),
                        hole => self.pieces.push(hole),
                    }
                }
            }
        }
        if self.size > MAX_TEXT {
            let message = format!("the rendered text is larger than {} MB", MAX_TEXT / 1024 / 1024);
            self.errors.push(ExpressionError::new(Class::Limit, start..start + source.len(), message));
        }
        if let Some(shown) = shown {
            self.values.insert(source.to_owned(), shown);
        }
    }

    fn plain(&mut self, text: &str) {
        self.size = self.size.saturating_add(text.len());
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }
}
