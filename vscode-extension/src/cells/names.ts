/** The commands about cells that the server does not have, with their titles. */

/** Those that are a command of the server with a target. */
export const targetCommands = {
  'dip.runCellOnRanks': 'Run cell on all ranks',
  'dip.runCellLocally': 'Run cell locally',
  'dip.runCellEverywhere': 'Run cell everywhere',
} as const;

/** Those that also move the cursor or edit the text. */
export const cellCommands = {
  'dip.runCellAndAdvance': 'Run cell and advance',
  'dip.runCellAndInsertBelow': 'Run cell and insert below',
  'dip.nextCell': 'Go to next cell',
  'dip.previousCell': 'Go to previous cell',
  'dip.selectCell': 'Select cell',
  'dip.insertCellAbove': 'Insert cell above',
  'dip.insertCellBelow': 'Insert cell below',
  'dip.splitCell': 'Split cell',
  'dip.moveCellUp': 'Move cell up',
  'dip.moveCellDown': 'Move cell down',
  'dip.deleteCell': 'Delete cell',
} as const;

export type CellCommand = keyof typeof cellCommands;

export type TargetCommand = keyof typeof targetCommands;
