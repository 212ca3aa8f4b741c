/**
 * The mutants of a C source in this project's style, found by its text: some do not compile, and are none.
 *
 * @module
 */

const OPERATORS = {
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "==": ["!="],
  "!=": ["=="],
  "&&": ["||"],
  "||": ["&&"],
  "+": ["-"],
  "-": ["+"],
  "*": ["/"],
  "/": ["*"],
  "%": ["*"],
  "++": ["--"],
  "--": ["++"],
  "+=": ["-="],
  "-=": ["+="],
  "|": ["&"],
  "<<": [">>"],
  ">>": ["<<"],
};

/** What stands in a line: names, numbers, operators. */
const TOKEN =
  /[A-Za-z_]\w*|0x[0-9a-fA-F]+[uUlL]*|\d+[uUlL]*|->|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|\+=|-=|\*=|\/=|\|=|&=|[-+*/%<>=!~&|^?:;,.(){}[\]]/g;

/** Finds the mutants of a source: `{ start, end, text, line }`. */
export function cMutantsOf(source) {
  const code = withoutTexts(source);
  const found = [];
  let offset = 0;
  for (const [i, line] of code.split("\n").entries()) {
    const put = (start, end, text) =>
      found.push({ start: offset + start, end: offset + end, text, line: i + 1 });
    if (isCode(line)) {
      tokenMutants(line, put);
      conditionMutants(line, put);
      statementMutants(line, put);
    }
    offset += line.length + 1;
  }
  return found;
}

/** Comments and texts blanked out, places kept. */
function withoutTexts(source) {
  const blank = (text) => text.replace(/[^\n]/g, " ");
  return source.replace(/\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g, blank);
}

/** Whether a line is part of a function's body: it is indented, and declares nothing alone. */
function isCode(line) {
  return /^ {2,}\S/.test(line) && !/^\s*(?:typedef|struct \w+ \{|static const)\b/.test(line);
}

function tokenMutants(line, put) {
  const tokens = [...line.matchAll(TOKEN)];
  for (const [i, { 0: token, index }] of tokens.entries()) {
    const before = tokens[i - 1]?.[0];
    const isBinary = before !== undefined && /^(?:\w+|\)|\])$/.test(before) &&
      !/^(?:return|case|sizeof)$/.test(before);
    const isPointer = token === "*" && line[index - 1] === " ";
    if (Object.hasOwn(OPERATORS, token) && !isPointer && (isBinary || /^(?:\+\+|--)$/.test(token))) {
      for (const other of OPERATORS[token]) put(index, index + token.length, ` ${other} `);
    }
    if (token === "!") put(index, index + 1, "");
    if (/^\d+[uUlL]*$/.test(token)) {
      const value = parseInt(token);
      put(index, index + token.length, String(value + 1));
      if (value > 0) put(index, index + token.length, String(value - 1));
    }
  }
}

/** `if( … )` that is true or false for good, where it ends in its line. */
function conditionMutants(line, put) {
  for (const { 0: word, index } of line.matchAll(/\b(?:if|while)\(/g)) {
    const start = index + word.length;
    let depth = 1;
    let end = start;
    while (end < line.length && depth > 0) depth += { "(": 1, ")": -1 }[line[end++]] ?? 0;
    if (depth > 0) continue;
    if (word === "if(") put(start, end - 1, " 1 ");
    put(start, end - 1, " 0 ");
  }
}

/** A statement that is all of its line, or all that an `if` has, left out. */
function statementMutants(line, put) {
  const match =
    /^(\s*(?:(?:else )?if\(.*\) |else )?)((?:\*?[a-zA-Z_][\w>.[\]+-]*(?:\(| ?[-+|&]?= |\+\+|--)|(?:break|continue);).*;)\s*$/
      .exec(line);
  if (match === null || /^(?:return|if|for|while)\b/.test(match[2])) return;
  put(match[1].length, match[1].length + match[2].length, ";");
}
