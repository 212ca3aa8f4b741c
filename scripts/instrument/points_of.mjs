/**
 * The points of a TypeScript source that tests should reach: lines with a statement, functions, and branches (both arms of
 * `if` and `?:`, what stands right of `&&`, `||` and `??`).
 *
 * @module
 */

/**
 * Finds the points of a source: `{ points, edits }`, points being `{ kind, line, name? }`. The edits put a call of
 * `__reached(n)` at each, n being its number from `first` on. `ts` is the compiler.
 */
export function pointsOf(ts, path, source, first) {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const points = [];
  const edits = [];
  const point = (kind, node, name) => {
    const line = file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1;
    return `__reached(${first + points.push({ kind, line, ...(name && { name }) }) - 1})`;
  };
  const insert = (start, text) => edits.push({ start, end: start, wrap: () => text });
  const wrap = (node, put) => edits.push({ start: node.getStart(file), end: node.end, wrap: put });
  const arm = (kind, node) => {
    if (ts.isBlock(node)) {
      if (kind) insert(node.getStart(file) + 1, `${point(kind, node)};`);
    } else {
      const calls = `${kind ? `${point(kind, node)};` : ""}${point("line", node)};`;
      wrap(node, (inner) => `{${calls}${inner}}`);
    }
  };
  const value = (kind, node, name) => {
    const call = point(kind, node, name);
    wrap(node, (inner) => `(${call},${inner})`);
  };
  const visit = (node) => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
    ts.forEachChild(node, visit);
    if (isCounted(ts, node)) insert(node.getStart(file), `${point("line", node)};`);
    if (ts.isFunctionLike(node) && node.body) {
      if (ts.isBlock(node.body)) {
        insert(node.body.getStart(file) + 1, `${point("function", node, nameOf(ts, node))};`);
      } else value("function", node.body, nameOf(ts, node));
    }
    if (ts.isIfStatement(node)) {
      arm("branch", node.thenStatement);
      if (node.elseStatement) arm("branch", node.elseStatement);
      else {
        const call = point("branch", node);
        wrap(node, (inner) => `${inner}else{${call}}`);
      }
    }
    if (ts.isIterationStatement(node, false)) arm(undefined, node.statement);
    if (ts.isConditionalExpression(node)) {
      value("branch", node.whenTrue);
      value("branch", node.whenFalse);
    }
    if (ts.isBinaryExpression(node) && ["&&", "||", "??"].includes(node.operatorToken.getText(file))) {
      value("branch", node.right);
    }
  };
  visit(file);
  return { points, edits };
}

/** Whether a node is a statement in a list of them that does something when it is come to. */
function isCounted(ts, node) {
  const { parent } = node;
  const isListed = parent &&
    (ts.isBlock(parent) || ts.isSourceFile(parent) || ts.isCaseOrDefaultClause(parent));
  if (!isListed || !ts.isStatement(node) || ts.isBlock(node) || ts.isEmptyStatement(node)) return false;
  return !ts.isFunctionDeclaration(node) && !ts.isClassDeclaration(node) && !ts.isImportDeclaration(node) &&
    !ts.isExportDeclaration(node) && !ts.isExportAssignment(node) && !ts.isModuleDeclaration(node);
}

function nameOf(ts, node) {
  if (ts.isConstructorDeclaration(node)) return "constructor";
  const named = node.name ?? node.parent?.name;
  return named?.getText?.() ?? "(unnamed)";
}
