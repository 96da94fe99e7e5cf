-- A session in a real Neovim with nvim/init.lua: what a person presses and sees. What does not appear in time is an error.

local function await(what, condition)
  if not vim.wait(120000, condition, 10) then
    error('gave up waiting for ' .. what .. '; there is:\n' .. vim.inspect({
      lines = vim.api.nvim_buf_get_lines(0, 0, -1, false),
      lenses = Lenses(),
      diagnostics = vim.diagnostic.get(0),
      output = Output(),
    }))
  end
end

local function dipls()
  local clients = (vim.lsp.get_clients or vim.lsp.get_active_clients)()
  return #clients == 1 and clients[1] or nil
end

-- What stands beside each line, from 1.
function Lenses()
  local found, client = {}, dipls()
  local namespace = client and vim.lsp.codelens.__namespaces[client.id]
  if not namespace then
    return found
  end
  for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
    for _, chunk in ipairs(mark[4].virt_text) do
      found[mark[2] + 1] = (found[mark[2] + 1] or '') .. chunk[1]
    end
  end
  return found
end

function Output()
  local buffer = vim.fn.bufnr('dip output')
  return buffer < 0 and '' or table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), '\n')
end

local function shows(text, part)
  return text ~= nil and text:find(part, 1, true) ~= nil
end

local function press(keys)
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(keys, true, false, true), 'mx', false)
end

-- The first diagnostic of a class.
local function failure(class)
  for _, d in ipairs(vim.diagnostic.get(0)) do
    if d.code == class or (d.user_data and d.user_data.lsp and d.user_data.lsp.code == class) then
      return d
    end
  end
end

local function session()
  await('the server', function()
    return dipls() and vim.lsp.buf_is_attached(0, dipls().id)
  end)
  await('lenses', function()
    return shows(Lenses()[1], 'Run on all ranks') and shows(Lenses()[1], 'Locally')
  end)
  assert(not shows(Lenses()[7], 'Run'), 'a markdown cell has a lens to run it')

  -- Nothing of the folder runs before a command; that one says what will.
  local running = vim.fn.glob(os.getenv('XDG_RUNTIME_DIR') .. '/dipls/*/*')
  assert(running == '', 'Python runs already: ' .. running)
  local told = {}
  vim.lsp.handlers['window/showMessage'] = function(_, params)
    told[#told + 1] = params.message
  end

  -- Lines above, in characters of every length, before the run.
  vim.api.nvim_buf_set_lines(0, 0, 0, false, { '# é 日本 🚀𝕏' })
  press('4Gdlir<Esc>') -- "import" loses its first letter, and gets a wrong one
  press('4G0ri') -- and the right one again
  vim.api.nvim_win_set_cursor(0, { 5, 0 })
  press('<Space>r')
  for rank = 0, 2 do
    await('the output of rank ' .. rank, function()
      return shows(Output(), ('[%d] hällo 🚀 from rank %d'):format(rank, rank))
    end)
  end
  assert(shows(told[1], 'from now on dipls runs the cells of '), vim.inspect(told))
  await('the failure of two ranks', function()
    return failure('NameError') and shows(failure('NameError').message, 'ranks 0,2')
  end)
  local d = failure('NameError')
  assert(d.lnum == 6, 'the diagnostic is on line ' .. d.lnum + 1)
  assert(d.source == 'dip' and shows(d.message, "name 'foobar' is not defined"), vim.inspect(d))
  await('word of the failure in a lens', function()
    return shows(Lenses()[2], 'NameError')
  end)

  -- The cell is mended: what was said of its failure goes; then a lens runs it, locally.
  vim.api.nvim_buf_set_lines(0, 5, 7, false, {})
  await('the failure to go', function()
    return not failure('NameError')
  end)
  await('the lenses of the new text', function()
    return shows(Lenses()[2], 'Locally')
  end)
  vim.api.nvim_win_set_cursor(0, { 2, 0 })
  vim.ui.select = function(items, o, choose)
    for _, item in ipairs(items) do
      if shows(o.format_item(item), 'Locally') then
        return choose(item)
      end
    end
    error('there is no lens "Locally"')
  end
  vim.lsp.codelens.run()
  await('the output of the local run', function()
    return shows(Output(), 'hällo 🚀 from rank here')
  end)
  await('the output at the cell', function()
    local d = vim.diagnostic.get(0, { lnum = 1 })[1]
    return d and d.severity == vim.diagnostic.severity.INFO and shows(d.message, 'hällo 🚀 from rank here')
  end)
  await('word of success in a lens', function()
    return shows(Lenses()[2], '✓')
  end)
end

local ok, message = xpcall(session, debug.traceback)
if not ok then
  io.stderr:write(message, '\n')
  vim.cmd('cquit!')
end
vim.cmd('qall!')
