-- A person opens Neovim again: the long cell still runs, also when the server is killed. When it has ended, its session is stopped.

Do(function()
  local function lens()
    return Lenses()[vim.fn.search('%% Long', 'n')]
  end
  Await('the cell that runs', function()
    return Shows(lens(), '0/3 done')
  end)
  Await('what it has printed', function()
    return Shows(Output(), 'the long cell begins')
  end)

  local killed, told = Dipls().id, nil
  local notify = vim.notify
  vim.notify = function(text)
    told = Shows(text, ':edit') and text or told
  end
  for _, child in ipairs(vim.api.nvim_get_proc_children(vim.fn.getpid())) do
    vim.loop.kill(child, 'sigkill')
  end
  Await('word of the end of the server', function()
    return told
  end)
  vim.notify = notify
  vim.cmd('edit')
  Await('the cell that runs, in another server', function()
    return Dipls() and Dipls().id ~= killed and Shows(lens(), '0/3 done')
  end)

  vim.fn.writefile({}, 'enough')
  Await('its end', function()
    return Shows(Output(), 'the long cell ends') and Shows(lens(), '✓')
  end)
  Await('the output at the cell', function()
    local d = vim.diagnostic.get(0, { lnum = vim.fn.search('%% Long', 'n') - 1 })[1]
    return d and Shows(d.message, 'the long cell ends')
  end)

  -- The folder's session is found in the list, renamed, and stopped. There may be others of this user.
  local said, chosen
  vim.ui.select = function(items, o, choose)
    chosen = vim.NIL
    for _, item in ipairs(items) do
      if item.dir == vim.fn.resolve(vim.fn.getcwd()) then
        chosen = o.format_item(item)
      end
    end
    choose(nil)
  end
  vim.notify = function(text)
    said = text
  end
  local function listed()
    said, chosen = nil, nil
    vim.cmd('DipSessions')
    Await('the list of sessions', function()
      return chosen or said
    end)
    return chosen ~= vim.NIL and chosen or ''
  end
  local function told(command)
    said = nil
    vim.cmd(command)
    Await('the answer to ' .. command, function()
      return said
    end)
    return said
  end
  assert(Shows(listed(), 'work'), chosen or said)
  assert(Shows(told('DipRename other'), 'other'), said)
  assert(Shows(listed(), 'other'), chosen or said)
  vim.lsp.handlers['window/showMessageRequest'] = function(_, question)
    return question.actions[1]
  end
  assert(Shows(told('DipStop'), 'has ended'), said)
  assert(listed() == '', chosen)
end)
