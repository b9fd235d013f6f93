//! `xml.select`: a small reader for XML and a part of XPath: `/a/b`, `//b`, `*`, `@attribute`, `text()`, `[n]`, `[@a='v']`. No document
//! types, no entities but the five of XML and characters by number, so that no document can grow while it is read.

use crate::error::Class;
use crate::limits::{MAX_VALUE, MAX_XML_DEPTH, MAX_XML_NODES};
use crate::operator::Refusal;
use crate::value::Value;

fn failed<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err((Class::Failed, message.into()))
}

/// The text of the first node at a path.
pub(crate) fn select(path: &str, source: &str) -> Result<Value, Refusal> {
    let steps = steps(path)?;
    let document = Document::read(source)?;
    document
        .select(&steps)
        .map_or_else(|| failed(format!("the XML has nothing at `{path}`")), |text| Ok(text.into()))
}

/// Elements in the order of the text; the first one is the document itself.
struct Document {
    elements: Vec<Element>,
}

#[derive(Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<usize>,
    /// The element's own text.
    text: String,
    /// Index of the first element after this one and all below it.
    end: usize,
}

impl Document {
    fn read(source: &str) -> Result<Self, Refusal> {
        if source.len() > MAX_VALUE {
            return Err((Class::Limit, format!("the XML is larger than {} KB", MAX_VALUE / 1024)));
        }
        let mut elements = vec![Element::default()];
        let mut open = vec![0_usize];
        let mut rest = source;
        while let Some(at) = rest.find('<') {
            let (text, tail) = rest.split_at(at);
            append(&mut elements, &open, &unescape(text)?);
            rest = markup(tail, &mut elements, &mut open)?;
        }
        if open.len() > 1 {
            return failed("the XML ends before all elements are closed");
        }
        close(&mut elements, 0);
        if elements.len() == 1 {
            return failed("the text is not XML: it has no element");
        }
        Ok(Self { elements })
    }

    /// Follows the steps; the string value of the first node that is left.
    fn select(&self, steps: &[Step]) -> Option<String> {
        let mut nodes = vec![0_usize];
        for step in steps {
            match &step.node {
                Node::Attribute(name) => {
                    let below = self.reach(&nodes, step.anywhere, true);
                    return below.into_iter().find_map(|node| self.attribute(node, name));
                }
                Node::Text => {
                    let below = self.reach(&nodes, step.anywhere, true);
                    return below
                        .into_iter()
                        .find_map(|node| self.elements.get(node))
                        .map(|element| element.text.clone());
                }
                Node::Element(name) => nodes = self.elements(&nodes, name, step),
            }
        }
        nodes.first().filter(|node| **node != 0).map(|node| self.text(*node))
    }

    /// The nodes themselves, and with `//` everything below them.
    fn reach(&self, nodes: &[usize], anywhere: bool, own: bool) -> Vec<usize> {
        let mut found = Vec::new();
        for node in nodes {
            let end = self.elements.get(*node).map_or(0, |element| element.end);
            if own {
                found.push(*node);
            }
            if anywhere {
                found.extend(node + 1..end);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn elements(&self, nodes: &[usize], name: &str, step: &Step) -> Vec<usize> {
        let mut found = Vec::new();
        for parent in self.reach(nodes, step.anywhere, true) {
            let children =
                self.elements.get(parent).map(|element| element.children.as_slice()).unwrap_or_default();
            let named = children.iter().copied().filter(|child| {
                let element = self.elements.get(*child);
                name == "*" || element.is_some_and(|element| local(&element.name) == local(name))
            });
            found.extend(step.choose(named, |node, name| self.attribute(node, name)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn attribute(&self, node: usize, name: &str) -> Option<String> {
        let element = self.elements.get(node)?;
        element
            .attributes
            .iter()
            .find(|(found, _)| name == "*" || found == name)
            .map(|(_, value)| value.clone())
    }

    /// The text of an element and of all below it.
    fn text(&self, node: usize) -> String {
        let end = self.elements.get(node).map_or(node, |element| element.end);
        self.elements.get(node..end).unwrap_or_default().iter().map(|element| element.text.as_str()).collect()
    }
}

/// Names compare without their prefix; namespaces are not looked up.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn append(elements: &mut [Element], open: &[usize], text: &str) {
    if let Some(element) = open.last().and_then(|at| elements.get_mut(*at)) {
        element.text.push_str(text);
    }
}

fn close(elements: &mut [Element], at: usize) {
    let end = elements.len();
    if let Some(element) = elements.get_mut(at) {
        element.end = end;
    }
}

/// Reads one thing that begins with `<`; gives what follows it.
fn markup<'t>(tail: &'t str, elements: &mut Vec<Element>, open: &mut Vec<usize>) -> Result<&'t str, Refusal> {
    let skip = |tail: &'t str, end: &str| tail.split_once(end).map(|(_, rest)| rest);
    if tail.starts_with("<!--") {
        return skip(tail, "-->").map_or_else(|| failed("a comment in the XML does not end"), Ok);
    }
    if let Some(data) = tail.strip_prefix("<![CDATA[") {
        let Some((text, rest)) = data.split_once("]]>") else {
            return failed("CDATA in the XML does not end");
        };
        append(elements, open, text);
        return Ok(rest);
    }
    if tail.starts_with("<?") {
        return skip(tail, "?>").map_or_else(|| failed("`<?` in the XML does not end"), Ok);
    }
    if tail.starts_with("<!") {
        return failed("document types in XML are not supported");
    }
    if let Some(closing) = tail.strip_prefix("</") {
        let Some((name, rest)) = closing.split_once('>') else {
            return failed("a tag in the XML does not end");
        };
        let at = open.pop().filter(|at| *at != 0);
        match at.and_then(|at| elements.get(at).map(|element| (at, element.name == name.trim_end()))) {
            Some((at, true)) => close(elements, at),
            _ => return failed(format!("`</{}>` in the XML closes nothing", short(name))),
        }
        return Ok(rest);
    }
    opening(tail, elements, open)
}

fn opening<'t>(
    tail: &'t str,
    elements: &mut Vec<Element>,
    open: &mut Vec<usize>,
) -> Result<&'t str, Refusal> {
    let tail = tail.get(1..).unwrap_or_default();
    let is_end = |c: char| c.is_whitespace() || c == '>' || c == '/';
    let length = tail.find(is_end).unwrap_or(tail.len());
    let (name, mut rest) = tail.split_at(length);
    if name.is_empty() || name.contains(['<', '&', '"', '\'', '=']) {
        return failed(format!("`<{}` in the XML is no tag", short(name)));
    }
    let mut element = Element { name: name.to_owned(), ..Element::default() };
    let empty = loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("/>") {
            rest = after;
            break true;
        }
        if let Some(after) = rest.strip_prefix('>') {
            rest = after;
            break false;
        }
        let Some((attribute, after)) = attribute(rest)? else {
            return failed(format!("the tag `<{}` in the XML does not end", short(name)));
        };
        element.attributes.push(attribute);
        rest = after;
    };
    let at = elements.len();
    if at > MAX_XML_NODES || open.len() > MAX_XML_DEPTH {
        return Err((
            Class::Limit,
            format!("the XML has more than {MAX_XML_NODES} elements or {MAX_XML_DEPTH} levels"),
        ));
    }
    if let Some(parent) = open.last().and_then(|parent| elements.get_mut(*parent)) {
        parent.children.push(at);
    }
    element.end = at + 1;
    elements.push(element);
    if !empty {
        open.push(at);
    }
    Ok(rest)
}

type Attribute<'t> = ((String, String), &'t str);

fn attribute(rest: &str) -> Result<Option<Attribute<'_>>, Refusal> {
    let Some((name, value)) = rest.split_once('=') else { return Ok(None) };
    let value = value.trim_start();
    let Some(quote) = value.chars().next().filter(|c| *c == '"' || *c == '\'') else { return Ok(None) };
    let Some((value, rest)) = value.get(1..).unwrap_or_default().split_once(quote) else { return Ok(None) };
    if name.contains(['<', '>']) {
        return Ok(None);
    }
    Ok(Some(((name.trim().to_owned(), unescape(value)?), rest)))
}

fn unescape(text: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('&') {
        out.push_str(before);
        let Some((entity, after)) = tail.split_once(';') else {
            return failed("an `&` in the XML is no entity");
        };
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let character = match entity {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            other => match other.strip_prefix("#x") {
                Some(hex) => number(hex, 16),
                None => other.strip_prefix('#').and_then(|digits| number(digits, 10)),
            },
        };
        match character {
            Some(character) => out.push(character),
            None => return failed(format!("the entity `&{};` in the XML is not known", short(entity))),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

struct Step {
    /// `//`: at any depth.
    anywhere: bool,
    node: Node,
    filters: Vec<Filter>,
}

enum Node {
    Element(String),
    Attribute(String),
    Text,
}

enum Filter {
    /// The n-th, from 1.
    Position(usize),
    /// `@name='value'`, or `@name` alone.
    Attribute(String, Option<String>),
}

impl Step {
    /// Those of one parent's children that pass the filters.
    fn choose(
        &self,
        nodes: impl Iterator<Item = usize>,
        attribute: impl Fn(usize, &str) -> Option<String>,
    ) -> Vec<usize> {
        let mut nodes: Vec<usize> = nodes.collect();
        for filter in &self.filters {
            match filter {
                Filter::Position(at) => nodes = nodes.into_iter().skip(at - 1).take(1).collect(),
                Filter::Attribute(name, wanted) => nodes.retain(|node| {
                    let found = attribute(*node, name);
                    found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| *wanted == found))
                }),
            }
        }
        nodes
    }
}

fn steps(path: &str) -> Result<Vec<Step>, Refusal> {
    let wrong = || {
        Err((
            Class::Failed,
            format!("the XPath `{}` uses more than `/a//b[n][@c='v']/@d` and `text()`", short(path)),
        ))
    };
    let mut steps = Vec::new();
    let mut rest = path.trim();
    if !rest.starts_with('/') && rest.is_empty() {
        return wrong();
    }
    while !rest.is_empty() {
        let anywhere = rest.starts_with("//");
        let tail = rest.trim_start_matches('/');
        if rest.len() - tail.len() > 2 || (rest.len() == tail.len() && !steps.is_empty()) {
            return wrong();
        }
        let length = tail.find(['/', '[']).unwrap_or(tail.len());
        let (name, mut tail) = tail.split_at(length);
        let mut filters = Vec::new();
        while let Some(inside) = tail.strip_prefix('[') {
            let Some((filter, after)) = filter(inside) else { return wrong() };
            filters.push(filter);
            tail = after;
        }
        let legal = |name: &str| {
            name == "*"
                || (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.:".contains(c)))
        };
        let node = match name.strip_prefix('@') {
            Some(attribute) if legal(attribute) && tail.is_empty() => Node::Attribute(attribute.to_owned()),
            None if name == "text()" && tail.is_empty() => Node::Text,
            None if legal(name) => Node::Element(name.to_owned()),
            _ => return wrong(),
        };
        steps.push(Step { anywhere, node, filters });
        rest = tail;
    }
    Ok(steps)
}

fn filter(inside: &str) -> Option<(Filter, &str)> {
    if let Some(attribute) = inside.strip_prefix('@') {
        let end = attribute.find(['=', ']'])?;
        let (name, tail) = attribute.split_at(end);
        if let Some(after) = tail.strip_prefix(']') {
            return Some((Filter::Attribute(name.trim().to_owned(), None), after));
        }
        let value = tail.strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'')?;
        let (value, after) = value.get(1..)?.split_once(quote)?;
        return Some((
            Filter::Attribute(name.trim().to_owned(), Some(value.to_owned())),
            after.strip_prefix(']')?,
        ));
    }
    let (number, after) = inside.split_once(']')?;
    let position = number.trim().parse().ok().filter(|at| *at > 0)?;
    Some((Filter::Position(position), after))
}
