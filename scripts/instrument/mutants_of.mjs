/**
 * The mutants of a TypeScript source: small changes, each of which some test should notice.
 *
 * Comparisons get another bound or are reversed, arithmetic another operator, conditions are true or false for good, `&&`, `||` and
 * `??` keep one side alone, `!`, `-` and `~` are left out, numbers and bigints are one more and one less, booleans
 * reversed, results `undefined`, statements left out, `?.` is `.`, calls that pick or order are left out or picked otherwise.
 * Texts stay: most are words for people.
 *
 * @module
 */

/** What an operator becomes; each entry a mutant. */
const OPERATORS = {
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "===": ["!=="],
  "!==": ["==="],
  "+": ["-"],
  "-": ["+"],
  "*": ["/"],
  "/": ["*"],
  "%": ["*"],
  "**": ["*"],
  "&": ["|"],
  "|": ["&"],
  "^": ["&"],
  "<<": [">>"],
  ">>": ["<<"],
  ">>>": ["<<"],
  "+=": ["-="],
  "-=": ["+="],
  "*=": ["/="],
  "|=": ["&="],
  "&=": ["|="],
  "^=": ["|="],
};

/** What a method becomes. */
const METHODS = {
  min: "max",
  max: "min",
  floor: "ceil",
  ceil: "floor",
  trunc: "ceil",
  some: "every",
  every: "some",
  startsWith: "endsWith",
  endsWith: "startsWith",
};

/** Methods that give their object as it is when they are left out. */
const PASSED_OVER = new Set(["filter", "sort", "toSorted", "reverse", "slice", "subarray", "trim"]);

/**
 * Finds the mutants of a source: `{ start, end, kind, text, line }`. An `"expression"` from `start` to `end` becomes `text`, a
 * `"statement"` is left out. `ts` is the compiler.
 */
export function mutantsOf(ts, path, source) {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  if (file.parseDiagnostics.length > 0) throw new Error(`Cannot parse ${path}: it has errors`);
  const found = [];
  const seen = new Set();
  const put = (kind, node, text) => {
    const [start, end] = [node.getStart(file), node.end];
    const key = `${start} ${end} ${text}`;
    if (seen.has(key) || text === source.slice(start, end)) return;
    seen.add(key);
    found.push({ start, end, kind, text, line: file.getLineAndCharacterOfPosition(start).line + 1 });
  };
  const change = (node, text) => mayWrap(ts, node) && put("expression", node, text);
  const visit = (node) => {
    if (isType(ts, node)) return;
    for (const text of changesOf(ts, node, file)) change(node, text);
    for (const [part, text] of partsOf(ts, node)) change(part, text);
    if (isRemovable(ts, node)) put("statement", node, "");
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

function isType(ts, node) {
  return ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) ||
    ts.isImportDeclaration(node) || ts.isExportDeclaration(node) || ts.isTypeParameterDeclaration(node);
}

/** Whether an expression may stand in parentheses where it is: no name, nothing called or assigned to, no part of a `?.` chain. */
function mayWrap(ts, node) {
  const { parent } = node;
  if ((ts.isCallExpression(parent) || ts.isNewExpression(parent)) && parent.expression === node) return false;
  if (ts.isPropertyAssignment(parent) && parent.name === node) return false;
  if (ts.isDeleteExpression(parent) || ts.isEnumMember(parent) || ts.isLiteralTypeNode(parent)) return false;
  if (ts.isOptionalChain(parent) && parent.expression === node && ts.isOptionalChain(node)) return false;
  return !ts.isNonNullExpression(parent) || mayWrap(ts, parent);
}

/** What an expression becomes. */
function changesOf(ts, node, file) {
  const text = (part) => part.getText(file);
  if (ts.isBinaryExpression(node)) return binaryChanges(ts, node, file);
  if (ts.isPrefixUnaryExpression(node)) {
    const { operator, operand } = node;
    if (operator === ts.SyntaxKind.PlusPlusToken) return [`--${text(operand)}`];
    if (operator === ts.SyntaxKind.MinusMinusToken) return [`++${text(operand)}`];
    return [text(operand)];
  }
  if (ts.isPostfixUnaryExpression(node)) {
    const isMore = node.operator === ts.SyntaxKind.PlusPlusToken;
    return [`${text(node.operand)}${isMore ? "--" : "++"}`];
  }
  if (ts.isNumericLiteral(node)) return neighbours(Number(text(node).replaceAll("_", "")), "");
  if (ts.isBigIntLiteral(node)) return neighbours(BigInt(text(node).replaceAll("_", "").slice(0, -1)), "n");
  if (node.kind === ts.SyntaxKind.TrueKeyword) return ["false"];
  if (node.kind === ts.SyntaxKind.FalseKeyword) return ["true"];
  if (ts.isOptionalChain(node) && node.questionDotToken !== undefined) {
    const { questionDotToken } = node;
    const isAccess = ts.isPropertyAccessExpression(node);
    const [start, at] = [node.getStart(file), questionDotToken.getStart(file)];
    const { text: all } = file;
    return [`${all.slice(start, at)}${isAccess ? "." : ""}${all.slice(questionDotToken.end, node.end)}`];
  }
  if (ts.isCallExpression(node)) return callChanges(ts, node, file);
  return [];
}

function binaryChanges(ts, node, file) {
  const [left, right] = [node.left.getText(file), node.right.getText(file)];
  const operator = node.operatorToken.getText(file);
  if (["&&", "||", "??"].includes(operator)) return [left, right];
  if (/^\+=?$/.test(operator) && (isText(ts, node.left) || isText(ts, node.right))) return [];
  return (OPERATORS[operator] ?? []).map((other) => `${left} ${other} ${right}`);
}

/** Whether it is a text as it stands there, so that `+` joins it to another. */
function isText(ts, node) {
  if (ts.isBinaryExpression(node)) return isText(ts, node.left) || isText(ts, node.right);
  return ts.isStringLiteralLike(node) || ts.isTemplateExpression(node);
}

function callChanges(ts, node, file) {
  const callee = node.expression;
  if (!ts.isPropertyAccessExpression(callee) || ts.isOptionalChain(node)) return [];
  const name = callee.name.text;
  const object = callee.expression.getText(file);
  const rest = file.text.slice(callee.end, node.end);
  if (Object.hasOwn(METHODS, name)) return [`${object}.${METHODS[name]}${rest}`];
  return PASSED_OVER.has(name) ? [object] : [];
}

/** A number's neighbours; what is 0 has one, for sizes and places are never negative. */
function neighbours(value, ending) {
  const one = typeof value === "bigint" ? 1n : 1;
  const above = `${value + one}${ending}`;
  return value > 0 ? [above, `${value - one}${ending}`] : [above];
}

/** Parts of a node that become something else because of where they stand: conditions and results. */
function partsOf(ts, node) {
  if (ts.isIfStatement(node)) return both(node.expression);
  if (ts.isConditionalExpression(node)) return both(node.condition);
  if (ts.isWhileStatement(node)) return [[node.expression, "false"]];
  if (ts.isForStatement(node) && node.condition) return [[node.condition, "false"]];
  if (ts.isReturnStatement(node) && node.expression) return result(ts, node.expression);
  if (ts.isArrowFunction(node) && !ts.isBlock(node.body)) return result(ts, node.body);
  return [];
}

/** A result becomes `undefined`; of literals this would often be the same, and they have mutants of their own. */
function result(ts, node) {
  const isEmpty = node.kind === ts.SyntaxKind.NullKeyword || node.kind === ts.SyntaxKind.FalseKeyword;
  return isEmpty || ts.isNumericLiteral(node) ? [] : [[node, "undefined"]];
}

function both(condition) {
  return [[condition, "true"], [condition, "false"]];
}

/** Whether a statement can be left out; one that is all of an `if` is so by its condition. */
function isRemovable(ts, node) {
  if (ts.isExpressionStatement(node)) {
    const { expression } = node;
    return !ts.isStringLiteral(expression) && !isSuper(ts, expression) && !isAllOfIf(ts, node);
  }
  const isJump = ts.isThrowStatement(node) || ts.isBreakStatement(node) || ts.isContinueStatement(node) ||
    (ts.isReturnStatement(node) && node.expression === undefined);
  return isJump && !isAllOfIf(ts, node);
}

function isSuper(ts, node) {
  return ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.SuperKeyword;
}

function isAllOfIf(ts, node) {
  const { parent } = node;
  const whole = ts.isBlock(parent) && parent.statements.length === 1 ? parent : node;
  const { parent: around } = whole;
  return ts.isIfStatement(around) && around.thenStatement === whole && around.elseStatement === undefined;
}
