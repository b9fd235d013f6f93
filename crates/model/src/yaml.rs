//! Reads YAML 1.2 into a [`Node`] tree within a budget. Nothing here panics, whatever the bytes; every complaint says line and column.
//!
//! Anchors and aliases are expanded while reading (an expanded alias counts every node it brings, so a bomb ends at the budget). Merge keys (`<<`)
//! are YAML 1.1 and refused; tags other than `!!str`, `!!map` and `!!seq` are refused.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use crate::node::{Content, Entry, Mapping, Node, Scalar, ScalarKind};
use crate::{Place, Problem, code};

/// What one document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of the file.
    pub bytes: usize,
    /// Nesting of lists and mappings.
    pub depth: usize,
    /// Nodes, those that aliases bring included.
    pub nodes: usize,
    /// Characters of a key.
    pub key: usize,
}

/// The budget of an entity document. 1 MiB holds the longest scripts seen in real trees many times over; 64 levels are five times the deepest
/// workflow; 200,000 nodes are parsed in well under a second.
pub const ENTITY_BUDGET: Budget = Budget { bytes: 1 << 20, depth: 64, nodes: 200_000, key: 256 };

/// What the scanner, which looks ahead of us, says of more than 255 brackets open at once.
const SCANNER_TOO_DEEP: &str = "recursion limit exceeded";

/// A document that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The root; an empty file is a null.
    pub root: Node,
    /// Line of the first comment, from 1, and how many lines hold one. Comments are not in the tree.
    pub comments: Option<Comments>,
}

/// The comments of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Comments {
    /// Line of the first, from 1.
    pub first_line: u32,
    /// Its column, from 1.
    pub first_column: u32,
    /// How many.
    pub count: u32,
}

/// Reads one document.
///
/// # Errors
/// One problem with its place when the bytes are not UTF-8, not YAML, more than one document, repeat a key or exceed the budget.
pub fn parse(path: &str, bytes: &[u8], budget: &Budget) -> Result<Parsed, Box<Problem>> {
    if bytes.len() > budget.bytes {
        let message = format!("the document has {} bytes, {} are allowed", bytes.len(), budget.bytes);
        return Err(Box::new(Problem::new(code!("YAML_LIMIT"), message).at(place(path, 1, 1))));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(path, bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The scanner takes a NUL for the end of its input and would silently drop the rest.
    if let Some(at) = text.find('\0') {
        let (line, column) = position(text.get(..at).unwrap_or_default());
        let message = "the document holds a NUL character";
        return Err(Box::new(Problem::new(code!("YAML_SYNTAX"), message).at(place(path, line, column))));
    }
    // The scanner is somebody else's code: should it panic on some input, that input is refused and the server lives.
    catch_unwind(AssertUnwindSafe(|| Loader::new(path, text, budget).load())).unwrap_or_else(|_| {
        let message = "the document cannot be read as YAML";
        Err(Box::new(Problem::new(code!("YAML_SYNTAX"), message).at(place(path, 1, 1))))
    })
}

fn place(path: &str, line: u32, column: u32) -> Place {
    Place { path: path.to_owned(), line, column }
}

fn position(before: &str) -> (u32, u32) {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (number(line), number(column))
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn not_utf8(path: &str, bytes: &[u8], valid: usize) -> Box<Problem> {
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default()).into_owned();
    let (line, column) = position(&before);
    let message = "the document is not UTF-8";
    Box::new(
        Problem::new(code!("YAML_SYNTAX"), message).hint("save it as UTF-8").at(place(path, line, column)),
    )
}

/// A list or mapping that is not closed yet.
enum Open {
    Sequence {
        items: Vec<Node>,
        mark: Marker,
        anchor: usize,
    },
    Mapping {
        mapping: Mapping,
        keys: HashSet<String>,
        key: Option<(Scalar, Marker)>,
        mark: Marker,
        anchor: usize,
    },
}

struct Loader<'a> {
    path: &'a str,
    text: &'a str,
    budget: &'a Budget,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    /// Character ranges of scalars, in order: a `#` in one is no comment.
    scalars: Vec<(usize, usize, ScalarStyle)>,
    nodes: usize,
    root: Option<Node>,
    documents: usize,
}

type Outcome<T> = Result<T, Box<Problem>>;

impl<'a> Loader<'a> {
    fn new(path: &'a str, text: &'a str, budget: &'a Budget) -> Self {
        Self {
            path,
            text,
            budget,
            stack: Vec::new(),
            anchors: HashMap::new(),
            scalars: Vec::new(),
            nodes: 0,
            root: None,
            documents: 0,
        }
    }

    fn load(mut self) -> Outcome<Parsed> {
        let mut parser = Parser::new_from_str(self.text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let mark = *error.marker();
                if error.info() == SCANNER_TOO_DEEP {
                    return self.too_deep(mark);
                }
                self.problem(
                    code!("YAML_SYNTAX"),
                    format!("the document is not YAML: {}", error.info()),
                    mark,
                )
            })?;
            self.event(event, span)?;
        }
        let comments = self.comments();
        let empty = Node { line: 1, column: 1, content: Content::Scalar(Scalar::plain("")) };
        Ok(Parsed { root: self.root.unwrap_or(empty), comments })
    }

    fn problem(&self, code: crate::Code, message: impl Into<String>, mark: Marker) -> Box<Problem> {
        let place = place(self.path, number(mark.line().max(1)), number(mark.col() + 1));
        Box::new(Problem::new(code, message).at(place))
    }

    fn too_deep(&self, mark: Marker) -> Box<Problem> {
        let message = format!("lists and mappings are nested deeper than {} levels", self.budget.depth);
        self.problem(code!("YAML_LIMIT"), message, mark)
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Outcome<()> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "the file holds more than one document";
                    return Err(self.problem(code!("YAML_SYNTAX"), message, span.start));
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, span.start),
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(&text, style, tag.as_deref(), span)?;
                self.scalars.push((span.start.index(), span.end.index(), style));
                let node = self.node(span.start, Content::Scalar(scalar));
                self.value(node, span.start, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span.start)?;
                self.open(Open::Sequence { items: Vec::new(), mark: span.start, anchor }, span.start)
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span.start)?;
                let open = Open::Mapping {
                    mapping: Mapping::default(),
                    keys: HashSet::new(),
                    key: None,
                    mark: span.start,
                    anchor,
                };
                self.open(open, span.start)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn node(&self, mark: Marker, content: Content) -> Node {
        Node { line: number(mark.line().max(1)), column: number(mark.col() + 1), content }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Outcome<Scalar> {
        let plain = style == ScalarStyle::Plain;
        match tag {
            None if plain => {
                // The scanner reports a value that is not there as `~`; its span is empty.
                Ok(Scalar::plain(if span.is_empty() { "" } else { text }))
            }
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == "str" || tag.suffix.is_empty()) => {
                let message = format!("the tag {tag} is not supported");
                Err(self.problem(code!("YAML_SYNTAX"), message, span.start))
            }
            _ => Ok(Scalar { text: text.to_owned(), kind: ScalarKind::String, quoted: true }),
        }
    }

    fn collection_tag(&self, tag: Option<&Tag>, own: &str, mark: Marker) -> Outcome<()> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => {
                Err(self.problem(code!("YAML_SYNTAX"), format!("the tag {tag} is not supported"), mark))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open, mark: Marker) -> Outcome<()> {
        if self.stack.len() >= self.budget.depth {
            return Err(self.too_deep(mark));
        }
        if let Some(Open::Mapping { key: None, .. }) = self.stack.last() {
            let message = "a key must be a single word or text, not a list or mapping";
            return Err(self.problem(code!("YAML_SYNTAX"), message, mark));
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self, mark: Marker) -> Outcome<()> {
        match self.stack.pop() {
            Some(Open::Sequence { items, mark, anchor }) => {
                let node = self.node(mark, Content::Sequence(items));
                self.collection(node, mark, anchor)
            }
            Some(Open::Mapping { mapping, mark, anchor, .. }) => {
                let node = self.node(mark, Content::Mapping(mapping));
                self.collection(node, mark, anchor)
            }
            None => {
                Err(self.problem(code!("YAML_SYNTAX"), "a list or mapping ends that did not begin", mark))
            }
        }
    }

    fn collection(&mut self, node: Node, mark: Marker, anchor: usize) -> Outcome<()> {
        self.value(node, mark, anchor, 1)
    }

    fn alias(&mut self, anchor: usize, mark: Marker) -> Outcome<()> {
        // Looked at before the copy is made: a bomb must not cost its memory first.
        let size = self.anchors.get(&anchor).map_or(0, |(_, size)| *size);
        self.spend(size, mark)?;
        let Some(node) = self.anchors.get(&anchor).map(|(node, _)| node.clone()) else {
            let message = "the alias stands inside what it refers to, or refers to nothing";
            return Err(self.problem(code!("YAML_SYNTAX"), message, mark));
        };
        if self.stack.len() + depth(&node) > self.budget.depth {
            let message = format!("aliases nest deeper than {} levels", self.budget.depth);
            return Err(self.problem(code!("YAML_LIMIT"), message, mark));
        }
        self.place_value(node, mark)
    }

    fn spend(&mut self, nodes: usize, mark: Marker) -> Outcome<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.budget.nodes {
            let message =
                format!("the document has more than {} values, aliases expanded", self.budget.nodes);
            return Err(self.problem(code!("YAML_LIMIT"), message, mark));
        }
        Ok(())
    }

    fn value(&mut self, node: Node, mark: Marker, anchor: usize, cost: usize) -> Outcome<()> {
        self.spend(cost, mark)?;
        if anchor > 0 {
            // A copy per anchor: counted, or many anchors around one big list would multiply it.
            let size = size(&node);
            self.spend(size, mark)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        self.place_value(node, mark)
    }

    fn place_value(&mut self, node: Node, mark: Marker) -> Outcome<()> {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { mapping, key, .. }) => match key.take() {
                Some((key, at)) => {
                    let (line, column) = (number(at.line().max(1)), number(at.col() + 1));
                    mapping.entries.push(Entry { key, line, column, value: node });
                }
                None => return self.key(node, mark),
            },
        }
        Ok(())
    }

    fn key(&mut self, node: Node, mark: Marker) -> Outcome<()> {
        let Content::Scalar(scalar) = node.content else {
            let message = "a key must be a single word or text, not a list or mapping";
            return Err(self.problem(code!("YAML_SYNTAX"), message, mark));
        };
        if scalar.text.chars().count() > self.budget.key || scalar.text.chars().any(|c| !is_key_character(c))
        {
            let message =
                format!("a key has at most {} characters and no control characters", self.budget.key);
            return Err(self.problem(code!("YAML_LIMIT"), message, mark));
        }
        if scalar.text == "<<" && !scalar.quoted {
            let problem =
                self.problem(code!("YAML_SYNTAX"), "merge keys (<<) are not part of YAML 1.2", mark);
            return Err(Box::new(problem.hint("write the merged keys out")));
        }
        let Some(Open::Mapping { keys, key, .. }) = self.stack.last_mut() else {
            return Err(self.problem(code!("YAML_SYNTAX"), "a key stands outside of a mapping", mark));
        };
        if !keys.insert(scalar.text.clone()) {
            let message = format!("the key `{}` stands twice", scalar.text);
            return Err(self.problem(code!("YAML_DUPLICATE_KEY"), message, mark));
        }
        *key = Some((scalar, mark));
        Ok(())
    }

    /// Finds comments: a `#` at the beginning of a line or after a blank, outside of every scalar.
    fn comments(&self) -> Option<Comments> {
        // Most documents have no `#` at all.
        if !self.text.contains('#') {
            return None;
        }
        let characters: Vec<char> = self.text.chars().collect();
        let mut scalars = self
            .scalars
            .iter()
            .map(|(start, end, style)| (*start, quoted_end(&characters, *start, *style).unwrap_or(*end)))
            .peekable();
        let mut found: Option<Comments> = None;
        let (mut line, mut column, mut previous, mut in_comment) = (1_u32, 1_u32, '\n', false);
        for (index, character) in characters.iter().copied().enumerate() {
            while scalars.next_if(|(_, end)| *end <= index).is_some() {}
            let inside = scalars.peek().is_some_and(|(start, _)| *start <= index);
            if character == '#' && !in_comment && !inside && matches!(previous, ' ' | '\t' | '\n' | '\r') {
                in_comment = true;
                let comments =
                    found.get_or_insert(Comments { first_line: line, first_column: column, count: 0 });
                comments.count = comments.count.saturating_add(1);
            }
            previous = character;
            column = column.saturating_add(1);
            if character == '\n' {
                (line, column, in_comment) = (line.saturating_add(1), 1, false);
            }
        }
        found
    }
}

/// Where a quoted scalar ends: the scanner counts the blanks and the comment after it as part of it.
fn quoted_end(characters: &[char], start: usize, style: ScalarStyle) -> Option<usize> {
    let quote = match style {
        ScalarStyle::SingleQuoted => '\'',
        ScalarStyle::DoubleQuoted => '"',
        _ => return None,
    };
    let mut index = start + 1;
    loop {
        let character = *characters.get(index)?;
        let doubled = quote == '\'' && characters.get(index + 1) == Some(&quote);
        if character == '\\' && quote == '"' || character == quote && doubled {
            index += 1;
        } else if character == quote {
            return Some(index + 1);
        }
        index += 1;
    }
}

fn is_key_character(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Nodes of a tree. The tree is no deeper than the budget, so this may recurse.
fn size(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 1,
        Content::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Mapping(mapping) => 1 + mapping.entries.iter().map(|e| 1 + size(&e.value)).sum::<usize>(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 0,
        Content::Sequence(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Content::Mapping(mapping) => 1 + mapping.entries.iter().map(|e| depth(&e.value)).max().unwrap_or(0),
    }
}
