//! The shape of answers where the GraphQL library differs from what clients need: an object whose fragments all fail to match is `{}` (R9), not
//! null, and a field that failed is null, not absent.

use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, PathSegment, Positioned, ServerError, Value};

/// Response key of the field that is slipped into selections made of fragments only; taken out of the answer again.
const MARK: &str = "_shape";

/// Slips a `__typename` into every selection that could come out empty. Returns whether it did.
pub fn mark(document: &mut ExecutableDocument) -> bool {
    let mut marked = false;
    for operation in document.operations_mut() {
        marked |= mark_below(&mut operation.node.selection_set);
    }
    for fragment in document.fragments.values_mut() {
        marked |= mark_below(&mut fragment.node.selection_set);
    }
    marked
}

/// Operations of a document, to be changed.
trait OperationsMut {
    fn operations_mut(
        &mut self,
    ) -> Box<dyn Iterator<Item = &mut Positioned<async_graphql::parser::types::OperationDefinition>> + '_>;
}

impl OperationsMut for ExecutableDocument {
    fn operations_mut(
        &mut self,
    ) -> Box<dyn Iterator<Item = &mut Positioned<async_graphql::parser::types::OperationDefinition>> + '_>
    {
        use async_graphql::parser::types::DocumentOperations;
        match &mut self.operations {
            DocumentOperations::Single(one) => Box::new(std::iter::once(one)),
            DocumentOperations::Multiple(several) => Box::new(several.values_mut()),
        }
    }
}

/// Marks the selections of the fields in a set, not the set itself.
fn mark_below(set: &mut Positioned<SelectionSet>) -> bool {
    let mut marked = false;
    for item in &mut set.node.items {
        match &mut item.node {
            Selection::Field(field) => {
                let below = &mut field.node.selection_set;
                marked |= mark_below(below);
                let may_be_empty = !below.node.items.is_empty()
                    && below.node.items.iter().all(|item| match &item.node {
                        Selection::Field(field) => !field.node.directives.is_empty(),
                        _ => true,
                    });
                if may_be_empty {
                    below.node.items.push(Positioned::new(Selection::Field(field_mark(item.pos)), item.pos));
                    marked = true;
                }
            }
            Selection::InlineFragment(fragment) => marked |= mark_below(&mut fragment.node.selection_set),
            Selection::FragmentSpread(_) => {}
        }
    }
    marked
}

fn field_mark(pos: async_graphql::Pos) -> Positioned<Field> {
    let field = Field {
        alias: Some(Positioned::new(Name::new(MARK), pos)),
        name: Positioned::new(Name::new("__typename"), pos),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::new(SelectionSet::default(), pos),
    };
    Positioned::new(field, pos)
}

/// Takes the marks out of an answer.
pub fn unmark(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.shift_remove(MARK);
            fields.values_mut().for_each(unmark);
        }
        Value::List(items) => items.iter_mut().for_each(unmark),
        _ => {}
    }
}

/// Puts a null where a field failed.
pub fn null_where_failed(data: &mut Value, errors: &[ServerError]) {
    for error in errors {
        let Some((last, way)) = error.path.split_last() else { continue };
        if way.is_empty() && *data == Value::Null {
            *data = Value::Object(async_graphql::indexmap::IndexMap::new());
        }
        let mut at = Some(&mut *data);
        for segment in way {
            at = at.and_then(|value| match (value, segment) {
                (Value::Object(fields), PathSegment::Field(name)) => fields.get_mut(name.as_str()),
                (Value::List(items), PathSegment::Index(index)) => items.get_mut(*index),
                _ => None,
            });
        }
        if let (Some(Value::Object(fields)), PathSegment::Field(name)) = (at, last) {
            fields.entry(Name::new(name)).or_insert(Value::Null);
        }
    }
}
