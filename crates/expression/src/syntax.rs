//! The syntax tree.

use std::ops::Range;

use crate::value::Value;

/// A node, the bytes it stands on, and its height.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Expr {
    pub(crate) node: Node,
    pub(crate) span: Range<usize>,
    pub(crate) height: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Node {
    Literal(Value),
    /// Quoted text with spans in it; each part is a text literal or the span's expression.
    Template(Vec<Expr>),
    List(Vec<Expr>),
    Root(String),
    Field(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Call(Box<Expr>, String, Vec<Expr>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Empty(Box<Expr>),
    Size(Box<Expr>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unary {
    Not,
    Minus,
    Plus,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    NotMatches,
    StartsWith,
    NotStartsWith,
    EndsWith,
    NotEndsWith,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Binary {
    /// The operator as a sign, for messages.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
            Self::StartsWith => "=^",
            Self::NotStartsWith => "!^",
            Self::EndsWith => "=$",
            Self::NotEndsWith => "!$",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }

    /// Reads an operator written as a sign or as a word, with how strongly it binds.
    pub(crate) fn read(written: &str) -> Option<(Self, u8)> {
        Some(match written {
            "||" | "or" => (Self::Or, 1),
            "&&" | "and" => (Self::And, 2),
            "==" | "eq" => (Self::Equal, 3),
            "!=" | "ne" => (Self::NotEqual, 3),
            "<" | "lt" => (Self::Less, 4),
            "<=" | "le" => (Self::LessOrEqual, 4),
            ">" | "gt" => (Self::Greater, 4),
            ">=" | "ge" => (Self::GreaterOrEqual, 4),
            "=~" => (Self::Matches, 4),
            "!~" => (Self::NotMatches, 4),
            "=^" => (Self::StartsWith, 4),
            "!^" => (Self::NotStartsWith, 4),
            "=$" => (Self::EndsWith, 4),
            "!$" => (Self::NotEndsWith, 4),
            "+" => (Self::Add, 5),
            "-" => (Self::Subtract, 5),
            "*" => (Self::Multiply, 6),
            "/" | "div" => (Self::Divide, 6),
            "%" | "mod" => (Self::Modulo, 6),
            _ => return None,
        })
    }
}

impl Expr {
    /// The nodes directly below.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match &self.node {
            Node::Literal(_) | Node::Root(_) => Vec::new(),
            Node::Template(parts) | Node::List(parts) => parts.iter().collect(),
            Node::Field(below, _) | Node::Unary(_, below) | Node::Empty(below) | Node::Size(below) => {
                vec![below]
            }
            Node::Index(left, right) | Node::Binary(_, left, right) => vec![left, right],
            Node::Call(receiver, _, args) => std::iter::once(&**receiver).chain(args).collect(),
        }
    }

    /// `a.b.c` when the node is only names and dots.
    pub(crate) fn path(&self) -> Option<String> {
        match &self.node {
            Node::Root(name) => Some(name.clone()),
            Node::Field(below, name) => Some(format!("{}.{name}", below.path()?)),
            _ => None,
        }
    }

    /// The root when the node is a reference: names, dots and indexes only.
    pub(crate) fn root(&self) -> Option<&str> {
        match &self.node {
            Node::Root(name) => Some(name),
            Node::Field(below, _) | Node::Index(below, _) => below.root(),
            _ => None,
        }
    }

    /// Whether the expression is numbers and operators alone, such as the shell's `${1}`.
    pub(crate) fn is_arithmetic_only(&self) -> bool {
        match &self.node {
            Node::Literal(value) => matches!(value, Value::Int(_) | Value::Float(_)),
            Node::Unary(..) | Node::Binary(..) => self.children().into_iter().all(Expr::is_arithmetic_only),
            _ => false,
        }
    }
}
