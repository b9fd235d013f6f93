//! From text to syntax tree: precedence climbing by hand. Word operators, signs that are only errors (`?`) and spans as operands
//! make this shorter and its messages better than combinators would.

use std::ops::Range;

use crate::error::ExpressionError;
use crate::limits::{MAX_DEPTH, MAX_EXPRESSION};
use crate::syntax::{Binary, Expr, Node, Unary};
use crate::token::{Kind, Part, Token, syntax, tokens};
use crate::value::Value;

/// Words that are never a name of their own.
const WORDS: [&str; 17] = [
    "or", "and", "eq", "ne", "lt", "gt", "le", "ge", "div", "mod", "not", "null", "true", "false", "new",
    "var", "return",
];

/// Parses a whole expression.
pub(crate) fn parse(text: &str) -> Result<Expr, ExpressionError> {
    if text.len() > MAX_EXPRESSION {
        let message = format!("the expression is longer than {MAX_EXPRESSION} bytes");
        return Err(syntax(0..text.len(), message));
    }
    part(text, 0..text.len(), 0)
}

fn part(text: &str, range: Range<usize>, depth: usize) -> Result<Expr, ExpressionError> {
    let tokens = tokens(text, range.clone())?;
    let mut parser = Parser { text, tokens, at: 0, end: range.end, depth };
    if parser.tokens.is_empty() {
        return Err(syntax(range, "the expression is empty"));
    }
    let expr = parser.expression(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(parser.unexpected(token, "an operator or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    end: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_sign(&self) -> Option<&'static str> {
        match self.peek()?.kind {
            Kind::Sign(sign) => Some(sign),
            _ => None,
        }
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = self.peek_sign() == Some(sign);
        if found {
            self.at += 1;
        }
        found
    }

    /// The end of the token just taken.
    fn last_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(self.end, |token| token.span.end)
    }

    fn expect(&mut self, sign: &str) -> Result<(), ExpressionError> {
        if self.accept(sign) {
            return Ok(());
        }
        let wanted = format!("`{sign}`");
        Err(match self.peek() {
            Some(token) => self.unexpected(token, &wanted),
            None => self.ended(&wanted),
        })
    }

    fn unexpected(&self, token: &Token, wanted: &str) -> ExpressionError {
        if matches!(token.kind, Kind::Sign("?" | ":")) {
            return syntax(token.span.clone(), "there is no `? :` (ternary) in expressions")
                .hint("use skip conditions, or let a script decide and publish the result");
        }
        let found: String = self.text.get(token.span.clone()).unwrap_or_default().chars().take(40).collect();
        syntax(token.span.clone(), format!("expected {wanted}, found `{found}`"))
    }

    fn ended(&self, wanted: &str) -> ExpressionError {
        syntax(self.end..self.end, format!("expected {wanted}, but the expression ends"))
    }

    fn node(&self, node: Node, span: Range<usize>) -> Result<Expr, ExpressionError> {
        let mut expr = Expr { node, span, height: 0 };
        expr.height = 1 + expr.children().into_iter().map(|child| child.height).max().unwrap_or(0);
        if self.depth + expr.height > MAX_DEPTH { Err(too_deep(expr.span)) } else { Ok(expr) }
    }

    fn deeper(&mut self) -> Result<(), ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(too_deep(self.peek().map_or(self.end..self.end, |t| t.span.clone())))
        } else {
            Ok(())
        }
    }

    /// The operator that stands here.
    fn operator(&self) -> Option<(Binary, u8)> {
        match &self.peek()?.kind {
            Kind::Sign(sign) => Binary::read(sign),
            Kind::Name(name) => Binary::read(name),
            _ => None,
        }
    }

    fn expression(&mut self, least: u8) -> Result<Expr, ExpressionError> {
        self.deeper()?;
        let mut left = self.unary()?;
        while let Some((operator, strength)) = self.operator().filter(|(_, strength)| *strength > least) {
            self.at += 1;
            let right = self.expression(strength)?;
            let span = left.span.start..right.span.end;
            left = self.node(Node::Binary(operator, Box::new(left), Box::new(right)), span)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, ExpressionError> {
        let Some(token) = self.peek().cloned() else { return Err(self.ended("a value")) };
        let operator = match &token.kind {
            Kind::Sign("!") => Unary::Not,
            Kind::Sign("-") => Unary::Minus,
            Kind::Sign("+") => Unary::Plus,
            Kind::Name(name) if name == "not" => Unary::Not,
            Kind::Name(name) if (name == "empty" || name == "size") && self.is_prefix() => {
                return self.prefix(&token, name == "empty");
            }
            _ => return self.postfix(),
        };
        self.at += 1;
        self.deeper()?;
        let operand = self.unary()?;
        self.depth -= 1;
        let span = token.span.start..operand.span.end;
        self.node(Node::Unary(operator, Box::new(operand)), span)
    }

    /// Whether `empty` or `size` here is the operator: something to apply it to follows.
    fn is_prefix(&self) -> bool {
        match self.tokens.get(self.at + 1).map(|token| &token.kind) {
            Some(Kind::Sign("(") | Kind::Text(_) | Kind::Span(_)) => true,
            Some(Kind::Name(name)) => Binary::read(name).is_none(),
            _ => false,
        }
    }

    fn prefix(&mut self, token: &Token, empty: bool) -> Result<Expr, ExpressionError> {
        self.at += 1;
        self.deeper()?;
        let operand = Box::new(self.postfix()?);
        self.depth -= 1;
        let span = token.span.start..operand.span.end;
        self.node(if empty { Node::Empty(operand) } else { Node::Size(operand) }, span)
    }

    fn postfix(&mut self) -> Result<Expr, ExpressionError> {
        let mut expr = self.primary()?;
        loop {
            if self.accept(".") {
                expr = self.member(expr)?;
            } else if self.accept("[") {
                let index = self.expression(0)?;
                self.expect("]")?;
                let span = expr.span.start..self.last_end();
                expr = self.node(Node::Index(Box::new(expr), Box::new(index)), span)?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// What follows a dot: a field, a quoted field or a method.
    fn member(&mut self, below: Expr) -> Result<Expr, ExpressionError> {
        let Some(token) = self.take() else { return Err(self.ended("a name after the dot")) };
        let start = below.span.start;
        match token.kind {
            Kind::Name(name) if self.accept("(") => {
                let args = self.list(")")?;
                let span = start..self.last_end();
                self.node(Node::Call(Box::new(below), name, args), span)
            }
            Kind::Name(name) => self.node(Node::Field(Box::new(below), name), start..token.span.end),
            Kind::Int(number) => {
                let index = self.node(Node::Literal(Value::Int(number)), token.span.clone())?;
                self.node(Node::Index(Box::new(below), Box::new(index)), start..token.span.end)
            }
            Kind::Text(_) => {
                let end = token.span.end;
                let index = self.quoted(token)?;
                self.node(Node::Index(Box::new(below), Box::new(index)), start..end)
            }
            _ => Err(self.unexpected(&token, "a name after the dot")),
        }
    }

    /// Expressions up to a closing sign, separated by commas.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, ExpressionError> {
        let mut items = Vec::new();
        if self.accept(close) {
            return Ok(items);
        }
        loop {
            items.push(self.expression(0)?);
            if self.accept(close) {
                return Ok(items);
            }
            if !self.accept(",") {
                let wanted = format!("`,` or `{close}`");
                return Err(match self.peek() {
                    Some(token) => self.unexpected(token, &wanted),
                    None => self.ended(&wanted),
                });
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, ExpressionError> {
        let Some(token) = self.take() else { return Err(self.ended("a value")) };
        let span = token.span.clone();
        match &token.kind {
            Kind::Int(value) => self.node(Node::Literal(Value::Int(*value)), span),
            Kind::Float(value) => self.node(Node::Literal(Value::Float(*value)), span),
            Kind::Text(_) => self.quoted(token),
            Kind::Span(inner) => {
                let inner = part(self.text, inner.clone(), self.depth + 1)?;
                Ok(Expr { span, ..inner })
            }
            Kind::Sign("(") => {
                let inner = self.expression(0)?;
                self.expect(")")?;
                Ok(Expr { span: span.start..self.last_end(), ..inner })
            }
            Kind::Sign("[") => {
                let items = self.list("]")?;
                self.node(Node::List(items), span.start..self.last_end())
            }
            Kind::Name(name) => self.name(name, &token),
            Kind::Sign(_) => Err(self.unexpected(&token, "a value")),
        }
    }

    fn name(&self, name: &str, token: &Token) -> Result<Expr, ExpressionError> {
        let node = match name {
            "true" => Node::Literal(Value::Bool(true)),
            "false" => Node::Literal(Value::Bool(false)),
            "null" => Node::Literal(Value::Null),
            word if WORDS.contains(&word) => return Err(self.unexpected(token, "a value")),
            _ => Node::Root(name.to_owned()),
        };
        if self.peek_sign() == Some("(") {
            return Err(syntax(token.span.clone(), format!("there is no function `{name}`")).hint(
                "functions are `empty(x)` and `size(x)`; everything else is a method such as `x.contains(y)`",
            ));
        }
        self.node(node, token.span.clone())
    }

    fn quoted(&self, token: Token) -> Result<Expr, ExpressionError> {
        let Kind::Text(parts) = token.kind else { return Err(self.unexpected(&token, "quoted text")) };
        if let [Part::Text(text)] = parts.as_slice() {
            return self.node(Node::Literal(text.as_str().into()), token.span);
        }
        let mut nodes = Vec::with_capacity(parts.len());
        for piece in parts {
            nodes.push(match piece {
                Part::Text(text) => self.node(Node::Literal(text.into()), token.span.clone())?,
                Part::Span(inner) => part(self.text, inner.clone(), self.depth + 1)?,
            });
        }
        self.node(Node::Template(nodes), token.span)
    }
}

fn too_deep(span: Range<usize>) -> ExpressionError {
    syntax(span, format!("the expression nests deeper than {MAX_DEPTH}"))
        .hint("split it over several variables")
}
