/**
 * The program that Windows runs as the service, in C#: Windows wants a program of its own kind, and has a C# compiler, but
 * no way to run another program as a service. It starts Node.js with the arguments in the registry (those of the chapter),
 * passes what the server says on stderr to the event log, and ends when the server ends. C# 5 is what that compiler knows.
 */
export const WINDOWS_HOST = String.raw`// The Windows service PyroNS: runs the Pyro Name Server. Made by pyro-nssvc.
using System;
using System.Diagnostics;
using System.ServiceProcess;
using Microsoft.Win32;

public class PyroNS : ServiceBase
{
    private readonly string node;
    private readonly string program;
    private Process server;
    private volatile bool stopping;

    public static void Main(string[] args)
    {
        ServiceBase.Run(new PyroNS(args[0], args[1]));
    }

    public PyroNS(string node, string program)
    {
        ServiceName = "PyroNS";
        this.node = node;
        this.program = program;
    }

    protected override void OnStart(string[] args)
    {
        object arguments = Registry.GetValue(
            @"HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\PyroNS", "PyroServiceArguments", "");
        var start = new ProcessStartInfo(node, "\"" + program + "\" " + arguments)
        {
            UseShellExecute = false,
            CreateNoWindow = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = Environment.GetEnvironmentVariable("PYRO_STORAGE"),
        };
        stopping = false;
        server = new Process { StartInfo = start, EnableRaisingEvents = true };
        server.OutputDataReceived += delegate { };
        server.ErrorDataReceived += delegate(object sender, DataReceivedEventArgs line)
        {
            if (!string.IsNullOrEmpty(line.Data)) EventLog.WriteEntry(line.Data, EventLogEntryType.Error);
        };
        server.Exited += delegate { OnServerExit(); };
        server.Start();
        server.BeginOutputReadLine();
        server.BeginErrorReadLine();
    }

    private void OnServerExit()
    {
        if (stopping) return;
        if (server.ExitCode == 0) Stop();
        // To end without a word is what Windows takes for a failure: it then starts the service again.
        else Environment.Exit(server.ExitCode);
    }

    // What the server has answered is on the disk, so nothing is lost.
    protected override void OnStop()
    {
        stopping = true;
        if (server.HasExited) return;
        server.Kill();
        server.WaitForExit();
    }
}
`;
